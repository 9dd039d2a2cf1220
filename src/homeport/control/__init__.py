"""The controller runtime: a controller is a declaration and one pure function from what is
observed to what is desired."""
