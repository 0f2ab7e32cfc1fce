"""Losses: functions of features, one per module. Weights and switches are the task's business."""
