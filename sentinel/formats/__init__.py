"""How the admin writes what Django would write in the manner of a language."""
