"""Teachers: another model, or the policy with more information, that rates the policy's own responses."""

from lightning_gft.teachers.base import Teacher
from lightning_gft.teachers.demonstration import DemonstrationTeacher
from lightning_gft.teachers.model import ModelTeacher

__all__ = ["DemonstrationTeacher", "ModelTeacher", "Teacher"]
