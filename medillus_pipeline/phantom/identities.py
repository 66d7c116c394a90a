"""Invented people and the hospital that scanned them: every identifier that the phantom plants.

No name here belongs to anybody on purpose. Names come in several scripts, each with its DICOM character set (PS3.3
C.12.1.1.2), because that is where de-identification tends to break.
"""

from dataclasses import dataclass, field
from datetime import date, timedelta

import numpy as np

UID_ROOT = "1.2.826.0.1.3680043.8.498"
"""pydicom's root, free for anybody to make UIDs under."""

_SCRIPTS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("ISO_IR 100",), ("Müller-Thürheim^Jürgen", "Grønvold^Solveig^Marit", "Peñalosa^Íñigo", "Västerlund^Åsa")),
    (
        ("ISO_IR 192",),
        ("Zhang^Xiaodong=张^晓东", "Ouyang^Meilin=欧阳^美琳", "Shen^Guohua=沈^国华", "Qiu^Wenbo=邱^文博"),
    ),
    (("ISO_IR 6",), ("Fairweather^Margaret^Anne^Dr", "Oyelaran^Babatunde", "Kowalczewski^Tomasz", "Abernathy^Leopold")),
    (
        ("", "ISO 2022 IR 87"),
        (
            "Hayakawa^Shinji=早川^真司",
            "Mizushima^Keiko=水島^恵子",
            "Kurosaki^Takumi=黒崎^匠",
            "Fujimori^Naomi=藤森^直美",
        ),
    ),
    (("ISO_IR 144",), ("Воробьёва^Людмила^Петровна", "Корсунский^Аркадий", "Железнова^Тамара", "Галицкий^Евгений")),
    (("ISO_IR 101",), ("Wiśniewska^Małgorzata", "Dvořáček^Břetislav", "Szentgyörgyi^Erzsébet", "Żółkiewski^Łukasz")),
    (("ISO_IR 126",), ("Παπαδημητρίου^Ελένη", "Χατζηγιάννης^Σπύρος", "Καραμπέτσου^Δέσποινα", "Θεοδωρίδης^Άρης")),
    (("GB18030",), ("Liang^Huaizhen=梁^怀珍", "Sima^Yuchen=司马^雨辰", "Tian^Bailing=田^柏龄", "Xue^Ruolan=薛^若兰")),
)
_LATIN = (
    ("Mueller-Thuerheim_Juergen", "Groenvold_Solveig", "Penalosa_Inigo", "Vaesterlund_Asa"),
    ("Zhang_Xiaodong", "Ouyang_Meilin", "Shen_Guohua", "Qiu_Wenbo"),
    ("Fairweather_Margaret", "Oyelaran_Babatunde", "Kowalczewski_Tomasz", "Abernathy_Leopold"),
    ("Hayakawa_Shinji", "Mizushima_Keiko", "Kurosaki_Takumi", "Fujimori_Naomi"),
    ("Vorobyova_Lyudmila", "Korsunsky_Arkady", "Zheleznova_Tamara", "Galitsky_Evgeny"),
    ("Wisniewska_Malgorzata", "Dvoracek_Bretislav", "Szentgyorgyi_Erzsebet", "Zolkiewski_Lukasz"),
    ("Papadimitriou_Eleni", "Chatzigiannis_Spyros", "Karampetsou_Despoina", "Theodoridis_Aris"),
    ("Liang_Huaizhen", "Sima_Yuchen", "Tian_Bailing", "Xue_Ruolan"),
)
"""The same people as a clerk writes them in a folder name."""
_PHYSICIANS = ("Castellanos^Rodrigo^^Dr", "Winterbourne^Agatha^^Prof", "Lindqvist^Henrik^^Dr", "Okonkwo^Chidinma^^Dr")
_OPERATORS = ("Pemberton^Gladys", "Sokolowski^Marek", "Trevelyan^Rupert")
_HOSPITALS = (
    ("St. Brannoc University Hospital", "17 Thistledown Lane, Port Wexley PX4 9QT", "BRANNOC01"),
    ("Klinikum Sankt Rupprecht", "Lindenwurmgasse 23, 98765 Oberfeldheim", "RUPPRE07"),
)
_STREETS = ("4 Quillfeather Court", "88 Larkspur Terrace", "Flat 6, 213 Ravensdale Road", "12 Old Tannery Yard")


@dataclass(frozen=True)
class Identity:
    """One invented patient with one study. Dates are DICOM DA, times TM; `folder_name` is what a clerk would type."""

    name: str
    character_set: tuple[str, ...]
    folder_name: str
    patient_id: str
    other_ids: tuple[str, str]
    issuer: str
    sex: str
    birth_date: str
    study_date: str
    study_time: str
    age: str
    weight_kg: float
    height_m: float
    address: str
    telephone: str
    mother: str
    accession: str
    study_id: str
    order: str
    physician: str
    radiologist: str
    operator: str
    hospital: str
    hospital_address: str
    station: str
    serial: str
    study_uid: str
    series_uid: str
    frame_uid: str
    referenced_study_uid: str
    slice_uids: tuple[str, ...] = field(repr=False)

    def planted(self) -> list[str]:
        """Every identifying string of the study (dates apart), and the words of the names, at least 5 characters."""
        whole = [
            self.name, *self.name.split("="), self.folder_name, self.patient_id, *self.other_ids, self.issuer,
            self.address, self.telephone, self.mother, self.accession, self.study_id, self.order, self.physician,
            self.radiologist, self.operator, self.hospital, self.hospital_address, self.station, self.serial,
            self.study_uid, self.series_uid, self.frame_uid, self.referenced_study_uid, *self.slice_uids,
        ]  # fmt: skip
        people = (self.name, self.mother, self.physician, self.radiologist, self.operator)
        words = [word for person in people for word in person.replace("=", "^").split("^")]
        words += self.folder_name.split("_")[:2]
        return sorted({text for text in (*whole, *words) if len(text) >= 5})

    def dates(self) -> list[str]:
        """Dates of the patient and the study, DICOM DA."""
        return [self.birth_date, self.study_date]


def identity(rng: np.random.Generator, index: int, slices: int) -> Identity:
    """The patient number `index` (from 0) with UIDs for `slices` slices; the same generator state, the same person."""
    characters, names = _SCRIPTS[index % len(_SCRIPTS)]
    turn = (index // len(_SCRIPTS)) % len(names)
    name = names[turn]
    born = date(1934, 1, 1) + timedelta(days=int(rng.integers(0, 23000)))
    scanned = date(2019, 1, 1) + timedelta(days=int(rng.integers(0, 2200)))
    hospital, address, station = _HOSPITALS[index % len(_HOSPITALS)]
    years = scanned.year - born.year - ((scanned.month, scanned.day) < (born.month, born.day))
    folder = f"{_LATIN[index % len(_LATIN)][turn]}_{born:%Y%m%d}"

    def uid() -> str:
        return f"{UID_ROOT}.{index + 1}.{int(rng.integers(10**15, 10**16))}{int(rng.integers(10**8, 10**9))}"

    study = uid()
    return Identity(
        name=name,
        character_set=characters,
        folder_name=folder,
        patient_id=f"MRN-{int(rng.integers(10**7, 10**8))}",
        other_ids=(f"NHS{int(rng.integers(10**9, 10**10))}", f"OLD/{int(rng.integers(10**5, 10**6))}-{index:02d}"),
        issuer=f"{station}-ADT",
        sex="F" if rng.random() < 0.5 else "M",
        birth_date=f"{born:%Y%m%d}",
        study_date=f"{scanned:%Y%m%d}",
        study_time=f"{int(rng.integers(7, 19)):02d}{int(rng.integers(0, 60)):02d}{int(rng.integers(0, 60)):02d}",
        age=f"{years:03d}Y",
        weight_kg=float(rng.integers(52, 104)),
        height_m=round(float(rng.uniform(1.52, 1.92)), 2),
        address=_STREETS[index % len(_STREETS)],
        telephone=f"+44 1632 {int(rng.integers(100000, 999999))}",
        mother="Featherstonehaugh^Rosalind" if index % 2 else "Nightingale-Brown^Ottilie",
        accession=f"ACC{int(rng.integers(10**9, 10**10))}",
        study_id=f"ST{int(rng.integers(10**6, 10**7))}",
        order=f"ORD-{int(rng.integers(10**7, 10**8))}",
        physician=_PHYSICIANS[index % len(_PHYSICIANS)],
        radiologist=_PHYSICIANS[(index + 1) % len(_PHYSICIANS)],
        operator=_OPERATORS[index % len(_OPERATORS)],
        hospital=hospital,
        hospital_address=address,
        station=station,
        serial=f"SN-{int(rng.integers(10**6, 10**7))}",
        study_uid=study,
        series_uid=uid(),
        frame_uid=uid(),
        referenced_study_uid=uid(),
        slice_uids=tuple(f"{study}.{number + 1}" for number in range(slices)),
    )
