"""Covaria: from cryo-EM particle images to the ensemble of conformations they show."""

__version__ = "0.1.0"
