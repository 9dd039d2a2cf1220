from __future__ import annotations

from pathlib import Path

import pytest

from homeport.node.dockerfile.instructions import parse
from homeport.node.imagefile import STOCK, read
from homeport.node.imagerender import dockerfile

TEXT = """
apiVersion: homeport.dev/v1alpha1
kind: Image
metadata: {name: trainer}
names: [trainer]
packages: [torch==2.13.0, "numpy>=2,<3"]
env: {A: 'say "$HOME"', PYTHONPATH: /lib}
files: [{source: src, target: /app, pythonPath: true}, {source: one.py, target: /bin/one.py}]
command: [python, -m, trainer]
args: ["--quick"]
workingDir: /app
ports: [80, 53/udp]
"""


def test_an_image_file_as_a_dockerfile(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "one.py").touch()
    path = tmp_path / "trainer.yaml"
    path.write_text(TEXT)
    (image,) = read(path)
    assert dockerfile(image, "3.11").splitlines()[2:] == [
        "FROM python:3.11-slim",
        "RUN pip install --no-cache-dir \\",
        "      torch==2.13.0 \\",
        "      'numpy>=2,<3'",
        "COPY src /app/",
        "COPY one.py /bin/one.py",
        r'ENV A="say \"\$HOME\""',
        'ENV PYTHONPATH="/app:/lib"',
        "EXPOSE 80/tcp 53/udp",
        "WORKDIR /app",
        'ENTRYPOINT ["python", "-m", "trainer"]',
        'CMD ["--quick"]',
    ]


@pytest.mark.parametrize("path", sorted(STOCK.glob("*.yaml")), ids=lambda path: str(path.stem))
def test_every_stock_image_has_one(path: Path) -> None:
    for image in read(path):
        assert len(parse(dockerfile(image, "3.11")).stages) == 1
