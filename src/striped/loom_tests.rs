//! All interleavings of threads that hand a place on while they count.

use loom::{sync::Arc, thread};

use super::{
    Striped,
    place::{PLACES, Places},
};

#[test]
fn loom_a_place_that_is_handed_on_loses_no_count() {
    loom::model(|| {
        let (counts, places) = (Arc::new(Striped::<1>::new()), Arc::new(Places::new()));
        // One is left.
        (1..PLACES).for_each(|_| drop(places.take()));
        let count = |counts: &Striped<1>, places: &Places| {
            let place = places.take();
            counts.count_at(place, 0);
            place.inspect(|place| places.give_back(*place));
        };
        let other = thread::spawn({
            let (counts, places) = (counts.clone(), places.clone());
            move || count(&counts, &places)
        });
        count(&counts, &places);
        count(&counts, &places);
        other.join().unwrap();
        assert_eq!(counts.read(0), 3);
    });
}
