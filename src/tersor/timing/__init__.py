"""How long networks would take: layers measured once on an engine, and added up."""
