use super::*;
use crate::scratch::Folder;

fn open(folder: &Folder) -> Replayed {
    Segments::open(folder, 1 << 20).expect("a folder of our own")
}

fn files(folder: &Folder) -> Vec<PathBuf> {
    let files = fs::read_dir(&**folder).expect("a folder").map(|file| file.unwrap().path());
    let mut files: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|suffix| suffix == SUFFIX)).collect();
    files.sort();
    files
}

fn texts(replayed: &Replayed) -> Vec<String> {
    let text = |body: &Vec<u8>| String::from_utf8(body.clone()).expect("text");
    replayed.messages.iter().map(|(_, body)| text(body)).collect()
}

#[test]
fn what_was_not_done_comes_back_in_its_order() {
    let folder = Folder::new();
    let mut segments = open(&folder).segments;
    let places: Vec<Place> =
        ["a", "b", "c"].map(|body| segments.append(body.as_bytes()).expect("room")).into();
    segments.done(places[1].seq).expect("written");
    assert_eq!(segments.read(places[2]).expect("there"), b"c");
    drop(segments);
    let replayed = open(&folder);
    assert_eq!((texts(&replayed), replayed.torn_bytes), (vec!["a".into(), "c".into()], 0));
    let mut segments = replayed.segments;
    let next = segments.append(b"d").expect("room");
    assert_eq!(next.seq, 4, "numbers go on");
    assert_eq!(segments.read(next).expect("there"), b"d");
}

#[test]
fn a_file_that_ends_anywhere_gives_its_whole_records() {
    let folder = Folder::new();
    let mut segments = open(&folder).segments;
    segments.append(b"first").expect("room");
    let second = segments.append(b"second").expect("room");
    drop(segments);
    let path = files(&folder).remove(0);
    let whole = fs::read(&path).expect("a file");
    for end in 0..=whole.len() {
        fs::write(&path, &whole[..end]).expect("written");
        let replayed = open(&folder);
        let expected: &[&str] = match end as u64 {
            end if end == whole.len() as u64 => &["first", "second"],
            end if end >= second.offset => &["first"],
            _ => &[],
        };
        assert_eq!(texts(&replayed), expected, "cut at {end}");
        let torn = end as u64 - replayed.segments.bytes;
        assert_eq!(
            replayed.torn_bytes,
            if replayed.segments.bytes > 0 { torn } else { end as u64 }
        );
    }
}

#[test]
fn a_flipped_bit_ends_the_reading() {
    let folder = Folder::new();
    let mut segments = open(&folder).segments;
    segments.append(b"first").expect("room");
    segments.append(b"second").expect("room");
    drop(segments);
    let path = files(&folder).remove(0);
    let whole = fs::read(&path).expect("a file");
    for at in 0..whole.len() {
        let mut bad = whole.clone();
        bad[at] ^= 1;
        fs::write(&path, &bad).expect("written");
        let found = texts(&open(&folder));
        assert!(found.len() < 2, "bit of byte {at}: {found:?}");
        assert!(found.iter().all(|text| text == "first"), "byte {at}: {found:?}");
    }
}

#[test]
fn the_folder_has_a_bound_and_gives_room_back() {
    let folder = Folder::new();
    let mut segments = Segments::open(&folder, 1 << 20).expect("a folder").segments;
    let body = vec![b'x'; 10_000];
    let mut places = VecDeque::new();
    while segments.has_room(body.len()) {
        places.push_back(segments.append(&body).expect("room"));
    }
    assert_eq!(places.len(), (1 << 20) / 10_017);
    assert!(files(&folder).len() > 4);
    while let Some(place) = places.pop_front() {
        segments.done(place.seq).expect("written");
    }
    assert_eq!((files(&folder).len(), segments.bytes), (0, 0));
    segments.append(&body).expect("room again");
}

#[test]
fn two_processes_cannot_share_a_folder() {
    let folder = Folder::new();
    let _first = open(&folder);
    assert!(Segments::open(&folder, 1).is_err());
}
