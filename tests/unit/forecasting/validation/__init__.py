"""Tests of the validation of models."""
