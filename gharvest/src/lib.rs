//! One process with everything, on embedded defaults; and the operator's commands.
