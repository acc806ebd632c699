import com.sun.management.ThreadMXBean;
import io.github.resilience4j.bulkhead.Bulkhead;
import io.github.resilience4j.bulkhead.BulkheadConfig;
import io.github.resilience4j.circuitbreaker.CircuitBreaker;
import io.github.resilience4j.circuitbreaker.CircuitBreakerConfig;
import io.github.resilience4j.circuitbreaker.CircuitBreakerConfig.SlidingWindowType;
import io.github.resilience4j.decorators.Decorators;
import io.github.resilience4j.ratelimiter.RateLimiter;
import io.github.resilience4j.ratelimiter.RateLimiterConfig;
import io.github.resilience4j.retry.Retry;
import java.lang.management.ManagementFactory;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CyclicBarrier;
import java.util.function.Supplier;

/**
 * resilience4j, by a plain loop that has been warmed up for two seconds a candidate, in turns, as benches/harness does it.
 * Prints a line of CSV a row: row, candidate, nanoseconds a call with one thread and with two, bytes allocated a call.
 */
final class Peers {
    static final int ROUNDS = 201;
    static final long SLICE = 500_000;
    static final long WARM_UP = 2_000_000_000;

    /** What the loops leave behind, so that none of it is optimised away. */
    static volatile long sink;

    static final class Candidate {
        final String row;
        final Supplier<Long> call;
        final double[] one = new double[ROUNDS];
        final double[] two = new double[ROUNDS];
        long calls;
        double bytes;

        Candidate(String row, Supplier<Long> call) {
            this.row = row;
            this.call = call;
        }

        long time(long calls) {
            long sum = 0;
            long started = System.nanoTime();
            for (long i = 0; i < calls; i++) {
                try {
                    sum += call.get();
                } catch (RuntimeException refused) {
                    sum++;
                }
            }
            long took = System.nanoTime() - started;
            sink = sum;
            return took;
        }

        void warmUp() {
            long started = System.nanoTime();
            long done = 0;
            while (System.nanoTime() - started < WARM_UP) {
                time(1_000);
                done += 1_000;
            }
            calls = Math.max(100, done * SLICE / WARM_UP);
            ThreadMXBean threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();
            long before = threads.getCurrentThreadAllocatedBytes();
            time(calls);
            bytes = (double) (threads.getCurrentThreadAllocatedBytes() - before) / calls;
        }

        void round(int round) throws Exception {
            one[round] = (double) time(calls) / calls;
            // From the first start to the last end, as with one thread.
            CyclicBarrier barrier = new CyclicBarrier(2);
            long[] ends = new long[4];
            Thread other = new Thread(() -> half(barrier, ends, 0));
            other.start();
            half(barrier, ends, 2);
            other.join();
            two[round] = (double) (Math.max(ends[1], ends[3]) - Math.min(ends[0], ends[2])) / calls;
        }

        private void half(CyclicBarrier barrier, long[] ends, int at) {
            try {
                barrier.await();
            } catch (Exception broken) {
                throw new IllegalStateException(broken);
            }
            ends[at] = System.nanoTime();
            time(calls);
            ends[at + 1] = System.nanoTime();
        }
    }

    static double median(double[] figures) {
        double[] sorted = figures.clone();
        Arrays.sort(sorted);
        return sorted[sorted.length / 2];
    }

    static CircuitBreakerConfig.Builder breaker() {
        // Half of the last 100 calls, from 20 on.
        return CircuitBreakerConfig.custom().failureRateThreshold(50).slidingWindowSize(100).minimumNumberOfCalls(20)
            .writableStackTraceEnabled(false);
    }

    static Supplier<Long> answer() {
        long[] number = {0};
        return () -> number[0];
    }

    public static void main(String[] args) throws Exception {
        List<Candidate> candidates = new ArrayList<>();
        CircuitBreaker closed = CircuitBreaker.of("bench", breaker().build());
        candidates.add(new Candidate("circuit breaker, closed", CircuitBreaker.decorateSupplier(closed, answer())));

        CircuitBreaker open = CircuitBreaker.of("bench", breaker().waitDurationInOpenState(Duration.ofHours(1)).build());
        open.transitionToOpenState();
        candidates.add(new Candidate("circuit breaker, open, refusing", CircuitBreaker.decorateSupplier(open, answer())));

        // Its time window keeps a bucket a second.
        CircuitBreaker timed = CircuitBreaker.of("bench",
            breaker().slidingWindowType(SlidingWindowType.TIME_BASED).slidingWindowSize(3600).build());
        Supplier<Long> inTime = CircuitBreaker.decorateSupplier(timed, answer());
        for (int i = 0; i < 10_000; i++) inTime.get();
        candidates.add(new Candidate("circuit breaker, closed, time window of 10,000 calls", inTime));

        BulkheadConfig.Builder room = BulkheadConfig.custom().maxWaitDuration(Duration.ZERO).writableStackTraceEnabled(false);
        Bulkhead roomy = Bulkhead.of("bench", room.maxConcurrentCalls(1000).build());
        candidates.add(new Candidate("bulkhead, with room", Bulkhead.decorateSupplier(roomy, answer())));
        Bulkhead full = Bulkhead.of("bench", room.maxConcurrentCalls(1).build());
        full.acquirePermission();
        candidates.add(new Candidate("bulkhead, full, refusing", Bulkhead.decorateSupplier(full, answer())));

        Retry retry = Retry.ofDefaults("bench");
        candidates.add(new Candidate("retry, first attempt", Retry.decorateSupplier(retry, answer())));

        RateLimiter limiter = RateLimiter.of("bench", RateLimiterConfig.custom().limitForPeriod(1_000_000_000)
            .limitRefreshPeriod(Duration.ofSeconds(1)).timeoutDuration(Duration.ZERO).build());
        candidates.add(new Candidate("rate limit, below it", RateLimiter.decorateSupplier(limiter, answer())));

        candidates.add(new Candidate("retry + circuit breaker + bulkhead", Decorators.ofSupplier(answer())
            .withBulkhead(roomy).withCircuitBreaker(CircuitBreaker.of("bench", breaker().build())).withRetry(retry).decorate()));

        for (Candidate candidate : candidates) candidate.warmUp();
        for (int round = 0; round < ROUNDS; round++) {
            for (Candidate candidate : candidates) candidate.round(round);
        }
        for (Candidate candidate : candidates) {
            System.out.printf("\"%s\",\"resilience4j 2.4 (Java)\",%.1f,%.1f,%.0f B%n",
                candidate.row, median(candidate.one), median(candidate.two), candidate.bytes);
        }
    }
}
