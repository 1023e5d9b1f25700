"""SLM Lightning: deep reinforcement learning as experimental science."""
