"""An open title as blocks of one second, and runs of these that are judged together."""
