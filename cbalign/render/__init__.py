"""What verbs print: `text` renders blocks for a terminal or a pipe, the others turn results into blocks."""
