"""Meter profiles from the operator's side: list, check, try on a live meter, write one for a SunSpec device."""
