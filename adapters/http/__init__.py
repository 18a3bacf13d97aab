"""HTTP: one request, one answer or one trouble."""
