"""One folder a domain, one inner shape. Domains never import each other; they meet through asset keys."""
