"""Django: the configuration, its settings, the database and its migrations, every path, the application for gunicorn."""
