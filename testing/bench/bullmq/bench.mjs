// Measures BullMQ: node bench.mjs PORT WHAT JOBS [CONCURRENCY]; prints the seconds that it took.
//
// WHAT is one of:
//   push        adds of one job each, CONCURRENCY at a time
//   push-bulk   addBulk of 50 jobs each, one after the other
//   work        one worker with CONCURRENCY jobs in flight, until the jobs that `push-bulk` left are done
//
// A job has an id of its own, as ours have (so that two of one subject are one), no data, and goes when it is done.
import { Queue, Worker } from 'bullmq';

const [port, what, jobs, concurrency = '1'] = process.argv.slice(2);
const connection = { host: '127.0.0.1', port: Number(port), maxRetriesPerRequest: null };
const count = Number(jobs);
const atOnce = Number(concurrency);
const options = number => ({ jobId: `1-${number}`, removeOnComplete: true, removeOnFail: true });

async function push() {
  const queue = new Queue('bench', { connection });
  await queue.waitUntilReady();
  const begun = performance.now();
  let next = 0;
  const caller = async () => {
    while (next < count) {
      next += 1;
      await queue.add('job', {}, options(next));
    }
  };
  await Promise.all(Array.from({ length: atOnce }, caller));
  const seconds = (performance.now() - begun) / 1000;
  await queue.close();
  return seconds;
}

async function pushBulk() {
  const queue = new Queue('bench', { connection });
  await queue.waitUntilReady();
  const begun = performance.now();
  for (let first = 1; first <= count; first += 50) {
    const length = Math.min(50, count - first + 1);
    await queue.addBulk(Array.from({ length }, (_, at) => ({ name: 'job', data: {}, opts: options(first + at) })));
  }
  const seconds = (performance.now() - begun) / 1000;
  await queue.close();
  return seconds;
}

async function work() {
  const worker = new Worker('bench', async () => {}, { connection, concurrency: atOnce, autorun: false });
  await worker.waitUntilReady();
  let done = 0;
  let finished;
  const all = new Promise(resolve => { finished = resolve; });
  worker.on('completed', () => {
    done += 1;
    if (done === count) finished();
  });
  worker.on('failed', (_, error) => { throw error; });
  const begun = performance.now();
  worker.run();
  await all;
  const seconds = (performance.now() - begun) / 1000;
  await worker.close();
  return seconds;
}

const seconds = await { push, 'push-bulk': pushBulk, work }[what]();
console.log(JSON.stringify({ seconds }));
