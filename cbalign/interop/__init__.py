"""Other tools' configurations, and specs of another format, as specs of this one. No torch."""
