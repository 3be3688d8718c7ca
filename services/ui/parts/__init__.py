"""Builders of HTML and chart options: values in, text out. `html` is the only place that escapes."""
