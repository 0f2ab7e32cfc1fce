"""The task `caption-check`: does a caption belong to an image?"""
