"""An archive of millions of films, read side by side on Ray, into a table. No clinic, no database, no reports."""
