"""Pages that need nothing else: HTML with styles, plots and pictures inside, where no script runs."""
