"""What each tool's files may hold beside the plain case: names, several faces, flags, splits, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facekd.data import folder
from facekd.data.dataset import Annotation, Problem
from facekd.data.folder import Options
from facekd.data.formats.label import point_indices
from facekd.errors import InputError
from facekd.markup import MarkUp
from layouts import HEIGHT, WIDTH, write_photo

TWO = MarkUp("two", 2, (1, 0))
NAMED = MarkUp("named", 2, (1, 0), names=("left eye", "right eye"))
POINTS = [[10.0, 20], [30, 40]]


def read(path: Path, markup: MarkUp = TWO, **options: Any) -> list[Annotation | Problem]:
    return list(folder.read(path, markup, Options(**options)))


def faces(path: Path, markup: MarkUp = TWO, **options: Any) -> list[Annotation]:
    found = read(path, markup, **options)
    assert [item for item in found if isinstance(item, Problem)] == []
    return [item for item in found if isinstance(item, Annotation)]


def problems(path: Path, markup: MarkUp = TWO) -> list[str]:
    return [str(item) for item in read(path, markup) if isinstance(item, Problem)]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_photo(tmp_path / "a.jpg")
    return tmp_path


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


# Names of points


@pytest.mark.parametrize(
    ("names", "indices"),
    [
        (("0", "1"), (0, 1)),
        (("1", "2"), (0, 1)),
        (("01", "00"), (1, 0)),
        (("p0", "p1"), (0, 1)),
        (("point 2", "point 1"), (1, 0)),
        (("2",), (1,)),
    ],
)
def test_numbers_of_points(names: tuple[str, ...], indices: tuple[int, ...]) -> None:
    assert tuple(point_indices(names, TWO).values()) == indices


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (("left", "right"), "name points 'left', 'right'; list those in mark-up 'two' under `names`"),
        (("a1", "b1"), "name points 'a1', 'b1'"),
        (("0", "2"), "name a point 2, but mark-up 'two' has 2, from 0"),
        (("3",), "name a point 3, but mark-up 'two' has 2, from 1"),
        (("1",), "name points '1', and neither 0 nor 2, so that nobody knows whether they count from 0 or 1"),
    ],
)
def test_names_that_mean_no_point(names: tuple[str, ...], says: str) -> None:
    with pytest.raises(InputError, match=says):
        point_indices(names, TWO)


def test_names_of_the_mark_up() -> None:
    assert point_indices(["Right_Eye", "left-eye"], NAMED) == {"Right_Eye": 1, "left-eye": 0}
    assert point_indices(["2", "1"], NAMED) == {"2": 1, "1": 0}  # numbers do as well
    with pytest.raises(InputError, match="a point 'nose', which is not among the names of mark-up 'named'"):
        point_indices(["nose"], NAMED)


# COCO


def coco(keypoints: list[float], **changes: Any) -> dict[str, Any]:
    face = {"id": 5, "image_id": 1, "category_id": 1, "keypoints": keypoints} | changes
    return {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [face], "categories": []}


def test_coco_chooses_by_the_names_of_the_mark_up(source: Path) -> None:
    content = coco([1, 2, 2, 30, 40, 2, 5, 6, 2, 10, 20, 1])
    content["categories"] = [{"id": 1, "keypoints": ["nose", "right eye", "chin", "left eye"]}]
    write(source / "labels.json", content)
    (face,) = faces(source, NAMED)
    np.testing.assert_array_equal(face.points, POINTS)
    assert face.visible is not None and face.visible.tolist() == [False, True]
    content["categories"][0]["keypoints"][3] = "ear"
    write(source / "labels.json", content)
    with pytest.raises(InputError, match="no keypoint 'left eye', which mark-up 'named' names"):
        faces(source, NAMED)


def test_coco_other_categories_are_no_faces(source: Path) -> None:
    content = coco([10, 20, 2, 30, 40, 2])
    content["annotations"].append({"id": 6, "image_id": 1, "category_id": 2, "keypoints": [1, 2, 2, 3, 4, 2, 5, 6, 2]})
    content["categories"] = [{"id": 1, "keypoints": ["l", "r"]}, {"id": 2, "keypoints": ["head", "hand", "foot"]}]
    write(source / "labels.json", content)
    assert [face.points.tolist() for face in faces(source)] == [POINTS]
    del content["categories"][0]
    write(source / "labels.json", content)
    with pytest.raises(InputError, match="the labels have 3 keypoints where mark-up 'two' has 2"):
        faces(source)


def test_coco_flags_that_are_all_one_say_nothing_of_occlusion(source: Path) -> None:
    write(source / "labels.json", coco([10, 20, 1, 30, 40, 1]))  # some tools write 1 for "labelled"
    assert faces(source)[0].visible is None


def test_coco_crowds_and_people_without_points_are_no_faces(source: Path) -> None:
    content = coco([10, 20, 2, 30, 40, 2])
    content["annotations"] += [
        {"id": 6, "image_id": 1, "iscrowd": 1, "keypoints": [1, 2, 2, 3, 4, 2]},
        {"id": 7, "image_id": 1, "keypoints": [0, 0, 0, 0, 0, 0]},
        {"id": 8, "image_id": 1, "bbox": [1, 2, 3, 4]},
    ]
    write_photo(source / "b.jpg")
    content["images"].append({"id": 2, "file_name": "b.jpg"})  # a photo without a face is labelled, too
    write(source / "labels.json", content)
    assert [face.name for face in faces(source)] == ["a.jpg"]


def test_coco_defects_are_named(source: Path) -> None:
    content = coco([10, 20, 2, 30, 40])
    content["annotations"].append({"id": 9, "image_id": 77, "keypoints": [1, 2, 2, 3, 4, 2]})
    write(source / "labels.json", content)
    assert problems(source) == [
        "labels.json, annotation 9: its image_id is not among the images",
        "labels.json, annotation 5: a.jpg: expected keypoints x, y, v, ... and bbox x, y, width, height",
        "a.jpg: no label that can be used names it",
    ]
    write(source / "labels.json", '{"images": [], "annotations": [], "keypoints"')
    with pytest.raises(InputError, match=r"labels.json is no JSON"):
        read(source)


@pytest.mark.parametrize("numbers", [10**400, 1e300, "x", None, [1], True])
@pytest.mark.parametrize("key", ["keypoints", "bbox"])
def test_coco_values_that_are_no_lists_of_numbers_are_named(source: Path, key: str, numbers: Any) -> None:
    for values in (numbers, [numbers] * 6 if key == "keypoints" else [numbers] * 4):
        write(source / "labels.json", coco([10, 20, 2, 30, 40, 2]) | {"annotations": [
            {"id": 5, "image_id": 1, "keypoints": [10, 20, 2, 30, 40, 2], key: values}
        ]})  # fmt: skip
        try:
            read(source)
        except InputError:
            continue


def test_coco_files_called_after_splits(source: Path) -> None:
    write_photo(source / "b.jpg")
    write(source / "annotations/person_keypoints_train2017.json", coco([10, 20, 2, 30, 40, 2]))
    other = coco([10, 20, 2, 30, 40, 2])
    other["images"][0]["file_name"] = "b.jpg"
    write(source / "annotations/person_keypoints_val2017.json", other)
    assert [(face.name, face.split) for face in faces(source)] == [("a.jpg", "train"), ("b.jpg", "val")]


# dlib


def dlib(*boxes: str) -> str:
    return f"<dataset><images><image file='a.jpg'>{''.join(boxes)}</image></images></dataset>"


PARTS = "<part name='0' x='10' y='20'/><part name='1' x='30' y='40'/>"


def test_dlib_boxes_to_ignore_and_without_parts(source: Path) -> None:
    at = "top='1' left='2' width='30' height='40'"
    write(source / "a.xml", dlib(f"<box {at} ignore='1'>{PARTS}</box>", f"<box {at}/>", f"<box {at}>{PARTS}</box>"))
    (face,) = faces(source)
    np.testing.assert_array_equal(face.points, POINTS)
    assert face.box is not None and face.box.tolist() == [2, 1, 31, 40]
    write(source / "a.xml", dlib(f"<box top='1' left='2'>{PARTS}</box>"))
    assert problems(source)[0].startswith("a.xml, a.jpg, box 1: expected numbers in left, top, width, height")


def test_xml_that_would_blow_up_is_refused(source: Path) -> None:
    bomb = "<!DOCTYPE d [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;'>]>"
    write(source / "a.xml", bomb + dlib("<box><part name='&b;'/></box>"))
    with pytest.raises(InputError, match=r"a.xml is no XML that can be read: EntitiesForbidden"):
        read(source)
    write(source / "a.xml", dlib()[:-12])
    with pytest.raises(InputError, match=r"a.xml is no XML that can be read"):
        read(source)


# labelme


def labelme(*shapes: dict[str, Any], **changes: Any) -> dict[str, Any]:
    listed = [{"shape_type": "point", "group_id": None, "flags": {}} | shape for shape in shapes]
    return {"shapes": listed, "imagePath": "a.jpg", "imageWidth": WIDTH, "imageHeight": HEIGHT} | changes


def test_labelme_names_and_positions(source: Path) -> None:
    left, right = {"label": "left_eye", "points": [[10.5, 20.5]]}, {"label": "right_eye", "points": [[30.5, 40.5]]}
    write(source / "a.json", labelme(right, left, {"label": "hat", "points": [[1, 1]] * 9, "shape_type": "polygon"}))
    (face,) = faces(source, NAMED)
    np.testing.assert_array_equal(face.points, POINTS)


@pytest.mark.parametrize("shape", ["linestrip", "polygon", "points"])
def test_labelme_a_line_through_all_points_is_a_face(source: Path, shape: str) -> None:
    line = {"label": "face", "points": [[10.5, 20.5], [30.5, 40.5]], "shape_type": shape}
    write(source / "a.json", labelme(line, line))
    assert [face.name for face in faces(source)] == ["a.jpg", "a.jpg#2"]


def test_labelme_two_faces_without_groups_are_asked_about(source: Path) -> None:
    point = {"label": "1", "points": [[10.5, 20.5]]}
    write(source / "a.json", labelme(point, {"label": "2", "points": [[30.5, 40.5]]}, point))
    assert problems(source) == [
        "a.json: point 0 is there twice; of several faces, give each one's points a group of their own",
        "a.jpg: no label that can be used names it",
    ]


def test_labelme_lies_elsewhere_and_on_another_system(source: Path) -> None:
    points = [{"label": str(i), "points": [[x + 0.5, y + 0.5]]} for i, (x, y) in enumerate(POINTS)]
    write(source / "labels/a.json", labelme(*points, imagePath="..\\pictures\\a.jpg"))
    assert [face.name for face in faces(source)] == ["a.jpg"]


def test_labelme_of_another_size_and_broken_files_are_named(source: Path) -> None:
    points = [{"label": str(i), "points": [[x, y]]} for i, (x, y) in enumerate(POINTS)]
    write(source / "a.json", labelme(*points, imageWidth=2 * WIDTH, imageHeight=2 * HEIGHT))
    assert problems(source) == [
        f"a.json: a.jpg: labelled at {2 * WIDTH}x{2 * HEIGHT}, but the photo has {WIDTH}x{HEIGHT}"
    ]
    write(source / "a.json", '{"shapes": 3, "imagePath": "a.jpg"}')
    assert problems(source)[0].startswith("a.json: not as labelme writes its files")


# CVAT


def cvat(shapes: str, image: str = "") -> str:
    return f'<annotations><image id="0" name="a.jpg" {image}>{shapes}</image></annotations>'


def test_cvat_points_in_order_and_by_name(source: Path) -> None:
    line = '<points label="eyes" occluded="{}" points="10.5,20.5;30.5,40.5"/>'
    write(source / "a.xml", cvat(line.format(1) + line.format(0), 'subset="Test"'))
    first, second = faces(source)
    assert (first.split, second.name) == ("test", "a.jpg#2")
    np.testing.assert_array_equal(first.points, POINTS)
    assert first.visible is not None and first.visible.tolist() == [False, False]
    single = '<points label="{}" occluded="{}" points="{}" group_id="{}"/>'
    shapes = [single.format("right eye", 1, "30.5,40.5", 1), single.format("left eye", 0, "10.5,20.5", 1)]
    shapes += [single.format("left eye", 0, "50.5,20.5", 2)]
    write(source / "a.xml", cvat("".join(shapes)))
    first, second = faces(source, NAMED)
    np.testing.assert_array_equal(first.points, POINTS)
    assert first.visible is not None and first.visible.tolist() == [True, False]
    np.testing.assert_array_equal(second.points, [[50, 20], [np.nan, np.nan]])


def test_cvat_defects(source: Path) -> None:
    write(source / "a.xml", cvat('<points label="eyes" occluded="0" points="1,2;3,4;5,6"/>'))
    assert problems(source)[0].startswith("a.xml, a.jpg: not as CVAT writes its shapes")
    assert "has 3 points, the mark-up 2" in problems(source)[0]
    write(source / "a.xml", "<annotations><track id='0' label='face'></track></annotations>")
    with pytest.raises(InputError, match="is 'CVAT for video'; export it as 'CVAT for images'"):
        read(source)


# VIA


def point(x: float, y: float, **attributes: Any) -> dict[str, Any]:
    return {"shape_attributes": {"name": "point", "cx": x, "cy": y}, "region_attributes": attributes}


def via(regions: Any) -> dict[str, Any]:
    return {"a.jpg99": {"filename": "a.jpg", "size": 99, "regions": regions, "file_attributes": {}}}


LEFT, RIGHT = point(10, 20), point(30, 40)


@pytest.mark.parametrize(
    "regions",
    [
        [LEFT, RIGHT],
        {"0": LEFT, "1": RIGHT},
        [point(30, 40, name="2"), point(10, 20, name="1")],
        [point(30, 40, corner="2", occluded="no"), point(10, 20, corner="1", occluded="no")],
        [
            {
                "shape_attributes": {"name": "polyline", "all_points_x": [10, 30], "all_points_y": [20, 40]},
                "region_attributes": {},
            }
        ],
    ],
)
def test_via_points_in_order_and_by_name(source: Path, regions: Any) -> None:
    for content in (via(regions), {"_via_img_metadata": via(regions), "_via_settings": {}}):
        write(source / "via.json", content)
        (face,) = faces(source)
        np.testing.assert_array_equal(face.points, POINTS)
        assert face.visible is None


@pytest.mark.parametrize("name", [5, True, None, ["a.jpg"], {"a": 1}])
def test_via_photos_without_a_name_are_named(source: Path, name: Any) -> None:
    shape = {"shape_attributes": {"name": "point", "cx": 1, "cy": 2}, "region_attributes": {"point": "0"}}
    content = {"a": {"filename": name, "regions": [shape]}}
    write(source / "via.json", {"_via_img_metadata": content, "_via_settings": {}})
    assert problems(source)[-1].startswith("a.jpg: no label")


def test_point_names_of_very_many_digits_are_no_numbers(source: Path) -> None:
    shape = {"shape_attributes": {"name": "point", "cx": 1, "cy": 2}, "region_attributes": {"point": "9" * 5000}}
    content = {"a": {"filename": "a.jpg", "regions": [shape]}}
    write(source / "via.json", {"_via_img_metadata": content, "_via_settings": {}})
    with pytest.raises(InputError, match="the labels name points"):
        read(source)


def test_via_several_faces_in_order(source: Path) -> None:
    write(source / "via.json", via([LEFT, RIGHT, point(50, 60), point(70, 80)]))
    assert [face.points.tolist() for face in faces(source)] == [POINTS, [[50, 60], [70, 80]]]
    write(source / "via.json", via([point(50, 60, face="b"), LEFT, RIGHT, point(70, 80, face="b")]))
    assert sorted(face.points.tolist() for face in faces(source)) == [POINTS, [[50, 60], [70, 80]]]
    write(source / "via.json", via([LEFT, RIGHT, LEFT]))
    assert "a.jpg: 3 points do not say which they are, and are not 2 of each face" in problems(source)[0]


@pytest.mark.parametrize(
    "said", [{"occluded": {"yes": True}}, {"occluded": "1"}, {"visible": "no"}, {"hidden": "true"}]
)
def test_via_occlusion(source: Path, said: dict[str, Any]) -> None:
    write(source / "via.json", via([point(10, 20, name="1"), point(30, 40, name="2", **said)]))
    (face,) = faces(source)
    assert face.visible is not None and face.visible.tolist() == [True, False]


@pytest.mark.parametrize("hash_sign", ["#", ""])
def test_via_csv(source: Path, hash_sign: str) -> None:
    columns = "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes"
    row = 'a.jpg,99,"{{}}",2,{},"{{""name"":""point"",""cx"":{},""cy"":{}}}","{{}}"'
    write(source / "via.csv", "\n".join([hash_sign + columns, row.format(0, 10, 20), row.format(1, 30, 40)]))
    (face,) = faces(source)
    np.testing.assert_array_equal(face.points, POINTS)


# YOLO


def yolo(*points: float) -> str:
    shares = [(x + 0.5) / side for x, side in zip(points, (WIDTH, HEIGHT) * 9, strict=False)]
    return " ".join(["0", "0.5", "0.5", "0.25", "0.5", *map(repr, shares)]) + "\n"


def test_yolo_labels_in_a_folder_of_their_own(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_photo(tmp_path / f"images/{split}/a.jpg")  # the same name twice
        write(tmp_path / f"labels/{split}/a.txt", yolo(10, 20, 30, 40))
    write_photo(tmp_path / "images/train/empty.jpg")
    write(tmp_path / "labels/train/empty.txt", "")
    write(tmp_path / "data.yaml", "kpt_shape: [2, 2]")
    first, second = faces(tmp_path)
    assert [(face.name, face.split) for face in (first, second)] == [
        ("images/train/a.jpg", "train"),
        ("images/val/a.jpg", "val"),
    ]
    np.testing.assert_allclose(first.points, POINTS, atol=1e-9)
    assert first.visible is None
    np.testing.assert_allclose(first.box, [0.375 * 120 - 0.5, 0.25 * 90 - 0.5, 0.625 * 120 - 0.5, 0.75 * 90 - 0.5])


def test_yolo_without_visibility_zeros_are_missing(source: Path) -> None:
    write(source / "a.txt", yolo(10, 20, -0.5, -0.5))
    (face,) = faces(source)
    np.testing.assert_allclose(face.points, [[10, 20], [np.nan, np.nan]], atol=1e-9)


def test_yolo_lines_of_other_lengths_are_named(source: Path) -> None:
    write(source / "a.txt", yolo(10, 20, 30, 40) + "0 0.5 0.5 0.1 0.1 0.3\n")
    assert problems(source) == ["a.txt, line 2: expected 9 or 11 numbers for 2 points, found 6 words"]


# Lists as WFLW's


@pytest.mark.parametrize("more", ["", "1 2 31 42 ", "1 2 31 42 1 0 0 0 1 0 "])
def test_wflw_lists(tmp_path: Path, more: str) -> None:
    write_photo(tmp_path / "WFLW_images/0--Parade/a 1.jpg")
    write(tmp_path / "list_test.txt", f"10 20 30 40 {more}0--Parade/a 1.jpg\n\n")
    (face,) = faces(tmp_path)
    np.testing.assert_array_equal(face.points, POINTS)
    assert face.name == "WFLW_images/0--Parade/a 1.jpg"
    assert (face.box is None) == (more == "")


def test_wflw_attributes_are_subsets(tmp_path: Path) -> None:
    write_photo(tmp_path / "test/a.jpg")
    write(tmp_path / "list.txt", "10 20 30 40 1 2 31 42 1 0 0 0 1 0 test/a.jpg\n")
    assert faces(tmp_path)[0].subsets == ("full", "pose", "occlusion")


def test_wflw_lists_of_other_points_are_not_taken_for_these(source: Path) -> None:
    write(source / "list.txt", "10 20 30 40 50 60 a.jpg\n")
    with pytest.raises(InputError, match="found no labels of 2 points"):
        read(source)
    write(source / "list.txt", "10 20 30 40 a.jpg\n10 20 30 a.jpg\n")
    assert problems(source) == ["list.txt, line 2: expected 4, 8 or 14 numbers, then a photo"]
