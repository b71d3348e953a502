//! A histogram for TensorBoard.

use tfrecord::protobuf::HistogramProto;

/// The number of buckets. TensorBoard itself shows 30.
const BUCKETS: usize = 30;

/// The histogram of the finite values, in buckets of equal width from the least value to the greatest. `None` where no value
/// is finite.
pub(super) fn of(values: &[f32]) -> Option<HistogramProto> {
    let finite = || values.iter().filter(|value| value.is_finite()).map(|value| f64::from(*value));
    let (min, max) =
        finite().fold((f64::INFINITY, f64::NEG_INFINITY), |(min, max), x| (min.min(x), max.max(x)));
    if min > max {
        return None;
    }
    // A bucket holds what is at most its limit and above that of the bucket before it. TensorBoard takes the first bucket to
    // begin at `min`.
    let width = (max - min) / BUCKETS as f64;
    let buckets = if width > 0.0 { BUCKETS } else { 1 };
    let mut bucket = vec![0.0; buckets];
    let (mut num, mut sum, mut sum_squares) = (0.0, 0.0, 0.0);
    for x in finite() {
        let place = if width > 0.0 { ((x - min) / width).ceil() as usize } else { 0 };
        bucket[place.saturating_sub(1).min(buckets - 1)] += 1.0;
        num += 1.0;
        sum += x;
        sum_squares += x * x;
    }
    let limit = |place: usize| if place + 1 == buckets { max } else { min + (place + 1) as f64 * width };
    let bucket_limit = (0..buckets).map(limit).collect();
    Some(HistogramProto { min, max, num, sum, sum_squares, bucket_limit, bucket })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finite_value_is_in_one_bucket() {
        // 31 values at the limits of the buckets from 0 to 30: the first bucket gets the two ends of its range.
        let values: Vec<f32> = (0..=30u8).map(f32::from).chain([f32::NAN, f32::INFINITY]).collect();
        let histogram = of(&values).unwrap();
        assert_eq!((histogram.min, histogram.max, histogram.num, histogram.sum), (0.0, 30.0, 31.0, 465.0));
        assert_eq!(histogram.sum_squares, 9455.0);
        let limits: Vec<f64> = (1..=30).map(f64::from).collect();
        assert_eq!(histogram.bucket_limit, limits);
        assert_eq!((histogram.bucket[0], &histogram.bucket[1..]), (2.0, &[1.0; 29][..]));
    }

    #[test]
    fn equal_values_make_one_bucket_and_none_makes_no_histogram() {
        let histogram = of(&[2.5; 4]).unwrap();
        assert_eq!(
            (histogram.bucket.as_slice(), histogram.bucket_limit.as_slice()),
            (&[4.0][..], &[2.5][..])
        );
        assert!(of(&[]).is_none() && of(&[f32::NAN]).is_none());
    }
}
