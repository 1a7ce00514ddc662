"""Beyond text to face: photographs edited by words, the way from one face to another, and a face's neighbours."""
