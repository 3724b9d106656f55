"""Which form of which model on which engine is handed back: judged, then raced."""
