"""Foreign input, made up: what parses it must raise nothing but what it says. Used by hypothesis and by atheris."""
