"""Deploy a systemprompt project: compile, image, push, run, and prove that it runs."""
