"""Pictures of a page."""

import base64

from whyclass.report import page_pictures


def _image(data: bytes, styles: str = "whole", end: str = "") -> str:
    address = f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
    return f'<img class="{styles}" src="{address}" width="30" height="20"{end} alt="A">'


def test_a_picture_that_is_shown_twice_stands_once_and_keeps_its_proportions():
    often, seldom = _image(bytes(range(200))), _image(bytes(range(1, 201)))
    address = often.split('"')[3]
    html = f"<style>p {{}}\n</style><p>{often}</p>{seldom}<i>{often}</i>"
    found = page_pictures.once(html)
    assert found.count(address) == 1
    assert found.index(address) < found.index("</style>")
    assert found.count(seldom) == 1
    assert found.count('style="aspect-ratio:30/20"') == 2
    assert found.count('class="whole base wc-p') == 2
    assert page_pictures.once(found) == found


def test_a_page_without_repeated_pictures_stays_as_it_is():
    html = f"<style></style>{_image(b'a' * 200)}{_image(b'b' * 200)}"
    assert page_pictures.once(html) == html


def test_small_pictures_and_those_with_a_style_of_their_own_stay():
    styled = _image(bytes(range(200)), end=' style="aspect-ratio:3/2"')
    html = f"<style></style>{_image(b'a') * 2}{styled * 2}"
    assert page_pictures.once(html) == html
