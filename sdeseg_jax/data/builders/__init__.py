"""Downloaded datasets: a builder each, which knows its official layout; `registry` lists them."""
