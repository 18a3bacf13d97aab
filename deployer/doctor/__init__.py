"""What can be known before a deploy: one small check a question, all asked at once."""
