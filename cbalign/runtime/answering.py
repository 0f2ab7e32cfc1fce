"""The former place of `cbalign.tasks.vqa.runtime`: example code in model cards of 0.1.0 imports it."""

from cbalign.tasks.vqa.runtime import Answerer, SessionAnswerGraphs, open_answerer

__all__ = ["Answerer", "SessionAnswerGraphs", "open_answerer"]
