"""The backdoor signature: pure tensor maths on channels."""
