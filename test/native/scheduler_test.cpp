#include "native/engine/scheduler.h"

#include <string>

#include "native/engine/page_pool.h"
#include "test/native/check.h"

namespace oss {

// "index:tokens/rows" of each scheduled part, in order.
static std::string plan(std::vector<Candidate> candidates, int64_t max_tokens, int64_t max_rows) {
  std::string out;
  for (const Scheduled& part : schedule(candidates, max_tokens, max_rows)) {
    out += str(out.empty() ? "" : " ", part.index, ":", part.tokens, "/", part.rows);
  }
  return out;
}

TEST("scheduler: decodes first, then prompts with what is left, oldest first") {
  CHECK_EQ(plan({{1, 1}}, 8, 8), "0:1/1");
  CHECK_EQ(plan({{5, 1}}, 8, 8), "0:5/1");
  CHECK_EQ(plan({{20, 1}}, 8, 8), "0:8/0");
  CHECK_EQ(plan({{20, 1}, {1, 1}, {1, 1}}, 8, 8), "1:1/1 2:1/1 0:6/0");
  CHECK_EQ(plan({{3, 1}, {4, 1}, {5, 1}}, 8, 8), "0:3/1 1:4/1 2:1/0");
  CHECK_EQ(plan({{1, 1}, {1, 1}, {1, 1}}, 2, 8), "0:1/1 1:1/1");
  CHECK_EQ(plan({}, 8, 8), "");
}

TEST("scheduler: wanted logits never exceed the rows of a step, and none is lost") {
  CHECK_EQ(plan({{6, 6}}, 8, 4), "0:4/4");
  CHECK_EQ(plan({{10, 6}}, 20, 4), "0:8/4");   // four tokens without logits, then four with
  CHECK_EQ(plan({{10, 2}}, 20, 4), "0:10/2");
  CHECK_EQ(plan({{10, 2}}, 9, 4), "0:9/1");
  CHECK_EQ(plan({{1, 1}, {10, 1}}, 20, 1), "0:1/1 1:9/0");  // its last token waits for a row
  CHECK_EQ(plan({{50, 100}}, 7, 64), "0:7/7");              // half of the wanted rows are done
  for (int64_t tokens = 1; tokens < 40; ++tokens) {
    for (int64_t wanted = 1; wanted <= tokens; ++wanted) {
      int64_t left = tokens, rows = 0, steps = 0;
      while (left > 0 && ++steps < 100) {
        const auto step = schedule(std::vector<Candidate>{{left, wanted}}, 7, 3);
        CHECK(step.size() == 1 && step[0].tokens > 0 && step[0].tokens <= 7 && step[0].rows <= 3);
        left -= step[0].tokens;
        rows += step[0].rows;
      }
      CHECK_EQ(rows, wanted);
    }
  }
}

TEST("page pool: hands out all pages once, takes them back, refuses without taking") {
  PagePool pool(4);
  std::vector<int32_t> a, b;
  CHECK(pool.grow(a, 3));
  CHECK_EQ(a[0], 0);
  CHECK(!pool.grow(b, 2));
  CHECK(b.empty());
  CHECK_EQ(pool.num_free(), 1);
  CHECK(pool.grow(a, 2));  // never shrinks
  CHECK_EQ(a.size(), size_t(3));
  pool.release(a);
  CHECK(a.empty());
  CHECK(pool.grow(b, 4));
  CHECK_EQ(pool.num_free(), 0);
}

}  // namespace oss
