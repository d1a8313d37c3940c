"""From a teacher's traces to data for supervised fine-tuning: with an echo, without, and matched in length."""
