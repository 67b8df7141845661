"""Sensors: what starts runs, and what reports them to people."""
