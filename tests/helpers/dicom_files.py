"""Files of DICOM, written by pydicom."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest


def dicom(path: Path, pixels: np.ndarray, **more) -> Path:
    """A file of 16 bits, or of several frames, written by pydicom."""
    pydicom = pytest.importorskip("pydicom")
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = (
        SecondaryCaptureImageStorage,
        generate_uid(),
    )
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.Rows, data.Columns = pixels.shape[-2:]
    if pixels.ndim == 3:
        data.NumberOfFrames = len(pixels)
    data.SamplesPerPixel, data.PixelRepresentation = 1, 0
    data.PhotometricInterpretation = more.pop("photometric", "MONOCHROME2")
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit = 15
    for name, value in more.items():
        setattr(data, name, value)
    data.PixelData = pixels.astype("<u2").tobytes()
    pydicom.dcmwrite(path, data, enforce_file_format=True)
    return path
