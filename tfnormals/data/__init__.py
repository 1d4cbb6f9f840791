"""What training and evaluation read: surfaces, procedural shapes, virtual scans."""
