"""What decides who is first, who may, who has to go and which node is best: one module each, as in Volcano."""
