"""What the tabs show and start, without Gradio."""
