"""The API document: what its operations take and answer, beside what django-ninja reads off the routes."""
