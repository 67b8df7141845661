"""Sensors: what starts runs, and what tells people of them."""
