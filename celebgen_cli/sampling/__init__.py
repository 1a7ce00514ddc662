"""What `sample` and `serve` share: prompts from everywhere, jobs, drawing them, and the places that they go to."""
