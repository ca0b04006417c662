"""What tables show: verdicts, sentences, figures and captions."""
