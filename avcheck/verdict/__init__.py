"""From score curves to an offset, a verdict and a report."""
