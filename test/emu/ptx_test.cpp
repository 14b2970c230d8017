// Tests of the emulated meaning of PTX and of the faults found in it. The PTX is written by hand, so no compiler is
// needed. `npm run ptx` runs the kernels that nvcc compiles.
#include <unistd.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "native/base/str.h"
#include "test/emu/block.h"
#include "test/emu/ptx/lane.h"
#include "test/native/check.h"

namespace oss::test {
namespace {

using emu::Fault;
namespace ptx = emu::ptx;

ptx::Program read(const std::string& text) {
  char path[] = "/tmp/ptx-test-XXXXXX";
  close(mkstemp(path));
  std::ofstream(path) << text;
  struct Remove {
    const char* path;
    ~Remove() { std::remove(path); }
  } remove{path};
  return ptx::read_program(path);
}

std::string kernel_text(const std::string& body, const std::string& before = "") {
  return ".version 9.0\n.target sm_90a\n.address_size 64\n" + before +
         "\n.entry kernel(.param .u64 out, .param .u64 a)\n{\n.reg .pred %p<9>;\n.reg .b32 %r<99>;\n.reg .b64 "
         "%rd<99>;\n" +
         "ld.param.u64 %rd1, [out];\nld.param.u64 %rd2, [a];\nmov.u32 %r1, %tid.x;\n" + body + "\nret;\n}\n";
}

// Runs `body` in one block: %rd1 is the address of `out`, %rd2 the number `a`, %r1 the number of the thread.
std::optional<Fault> run(const std::string& body, std::span<uint64_t> out, uint64_t a = 0, unsigned threads = 1,
                         size_t dynamic = 0, const std::string& before = "") {
  const ptx::Program program = read(kernel_text(body, before));
  const ptx::Kernel& kernel = program.kernels.at(0);
  const uint64_t arguments[] = {uint64_t(reinterpret_cast<uintptr_t>(out.data())), a};
  const auto bytes = std::as_bytes(std::span(arguments));
  const auto* first = reinterpret_cast<const unsigned char*>(bytes.data());
  const auto memory = std::span(reinterpret_cast<const char*>(out.data()), out.size_bytes());
  const auto thread = ptx::thread_body(kernel, {{first, 8}, {first + 8, 8}}, {memory});
  std::optional<Fault> fault =
      emu::run_grid({{1, 1, 1}, {threads, 1, 1}, ptx::shared_bytes(kernel, dynamic)}, thread, 0);
  if (fault) fault->text += str(" at ", ptx::last_place());  // while the kernel exists
  return fault;
}

// The value that `body` leaves in %rd9.
uint64_t result_of(const std::string& body, uint64_t a = 0) {
  uint64_t out[1] = {};
  const std::optional<Fault> fault = run(body + "\nst.global.u64 [%rd1], %rd9;", out, a);
  CHECK(!fault);
  return out[0];
}
// The result of a 32-bit instruction on a = low half, b = high half.
uint32_t of_pair(const std::string& instruction, uint32_t a, uint32_t b) {
  return uint32_t(
      result_of("mov.b64 {%r2, %r3}, %rd2;\n" + instruction + "\ncvt.u64.u32 %rd9, %r9;", uint64_t(b) << 32 | a));
}
uint32_t of_floats(const std::string& instruction, float a, float b) {
  return of_pair(instruction, std::bit_cast<uint32_t>(a), std::bit_cast<uint32_t>(b));
}
uint32_t holds(const std::string& comparison, float a, float b) {
  return of_floats(comparison + " %p1, %r2, %r3;\nselp.u32 %r9, 1, 0, %p1;", a, b);
}

// Empty if `text` contains `part`, else the whole text in quotes.
std::string lacking(const std::string& text, const std::string& part) {
  return text.find(part) == std::string::npos ? "\"" + text + "\"" : "";
}

constexpr float kInfinite = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();

}  // namespace

TEST("ptx: integers wrap, shifts stop at the width, quotients go towards zero") {
  CHECK_EQ(of_pair("add.s32 %r9, %r2, %r3;", 0x7FFFFFFFu, 1), 0x80000000u);
  CHECK_EQ(of_pair("sub.s32 %r9, %r2, %r3;", 0, 1), 0xFFFFFFFFu);
  CHECK_EQ(of_pair("mul.hi.s32 %r9, %r2, %r3;", 0xFFFFFFFFu, 3), 0xFFFFFFFFu);
  CHECK_EQ(of_pair("mad.lo.s32 %r9, %r2, %r3, -5;", 7, 3), 16u);
  CHECK_EQ(of_pair("shl.b32 %r9, %r2, %r3;", 3, 31), 0x80000000u);
  CHECK_EQ(of_pair("shl.b32 %r9, %r2, %r3;", 3, 32), 0u);
  CHECK_EQ(of_pair("shr.s32 %r9, %r2, %r3;", 0x80000000u, 40), 0xFFFFFFFFu);
  CHECK_EQ(of_pair("shr.u32 %r9, %r2, %r3;", 0x80000000u, 31), 1u);
  CHECK_EQ(of_pair("div.s32 %r9, %r2, %r3;", uint32_t(-7), 2), uint32_t(-3));
  CHECK_EQ(of_pair("rem.s32 %r9, %r2, %r3;", uint32_t(-7), 2), uint32_t(-1));
  CHECK_EQ(of_pair("div.u32 %r9, %r2, %r3;", uint32_t(-7), 2), 0x7FFFFFFCu);
  CHECK_EQ(of_pair("min.s32 %r9, %r2, %r3;", uint32_t(-7), 2), uint32_t(-7));
  CHECK_EQ(of_pair("max.u32 %r9, %r2, %r3;", uint32_t(-7), 2), uint32_t(-7));
  CHECK_EQ(result_of("mul.wide.s32 %rd9, -3, 0x40000000;"), uint64_t(-3) << 30);
  CHECK_EQ(result_of("mul.hi.u64 %rd9, %rd2, %rd2;", uint64_t(1) << 63), uint64_t(1) << 62);
  // 128 bits: all ones and one, then one less
  CHECK_EQ(result_of("add.cc.s64 %rd3, %rd2, 1;\naddc.cc.s64 %rd9, 5, 0;", ~uint64_t(0)), 6u);
  CHECK_EQ(result_of("sub.cc.s64 %rd3, %rd2, 1;\nsubc.cc.s64 %rd9, 5, 0;", 0), 4u);
  CHECK_EQ(result_of("sub.cc.s64 %rd3, %rd2, 1;\nsubc.cc.s64 %rd9, 5, 0;", 1), 5u);
}

TEST("ptx: bits") {
  CHECK_EQ(of_pair("bfi.b32 %r9, %r2, %r3, 8, 4;", 0x0000001Fu, 0xFFFF0000u), 0xFFFF0F00u);
  CHECK_EQ(of_pair("bfi.b32 %r9, %r2, %r3, 28, 8;", 0x000000FFu, 0), 0xF0000000u);
  CHECK_EQ(of_pair("lop3.b32 %r9, %r2, %r3, 0x0F0F0F0F, 0xE2;", 0x12345678u, 0xFF00FF00u),
           (0x12345678u & 0xFF00FF00u) | (0x0F0F0F0Fu & ~0xFF00FF00u));
  CHECK_EQ(of_pair("prmt.b32 %r9, %r2, %r3, 0x7604;", 0x44332211u, 0xDDCCBBAAu), 0xDDCC11AAu);
  CHECK_EQ(of_pair("prmt.b32 %r9, %r2, %r3, 0x000F;", 0x44332211u, 0xDDCCBBAAu), 0x111111FFu);
  CHECK_EQ(of_pair("shf.l.wrap.b32 %r9, %r2, %r3, 36;", 0x80000001u, 0x00000002u), 0x00000028u);
  CHECK_EQ(of_pair("shf.r.clamp.b32 %r9, %r2, %r3, 40;", 0x80000001u, 0x00000002u), 0x00000002u);
  CHECK_EQ(of_pair("clz.b32 %r9, %r2;", 0, 0), 32u);
  CHECK_EQ(of_pair("popc.b32 %r9, %r2;", 0xF0F0F0F0u, 0), 16u);
  CHECK_EQ(of_pair("{\n.reg .b16 low, high;\nmov.b32 {low, high}, %r2;\nmov.b32 %r9, {high, low};\n}", 0x11112222u, 0),
           0x22221111u);
}

TEST("ptx: floats at their limits") {
  CHECK_EQ(of_floats("min.f32 %r9, %r2, %r3;", kNan, 2), std::bit_cast<uint32_t>(2.0f));
  CHECK_EQ(of_floats("max.f32 %r9, %r2, %r3;", -0.0f, 0.0f), 0u);
  CHECK_EQ(of_floats("min.f32 %r9, %r2, %r3;", 0.0f, -0.0f), 0x80000000u);
  // between 1 and the float above it
  CHECK_EQ(of_floats("fma.rn.f32 %r9, %r2, 0f3F800000, %r3;", 1, 0x1.8p-24f), std::bit_cast<uint32_t>(0x1.000002p0f));
  CHECK_EQ(of_floats("fma.rm.f32 %r9, %r2, 0f3F800000, %r3;", 1, 0x1.8p-24f), std::bit_cast<uint32_t>(1.0f));
  CHECK_EQ(of_floats("fma.rm.f32 %r9, %r2, 0f3F800000, %r3;", -1, -0x1p-30f), std::bit_cast<uint32_t>(-0x1.000002p0f));
  CHECK_EQ(of_floats("ex2.approx.ftz.f32 %r9, %r2;", -130, 0), 0u);
  CHECK_EQ(of_floats("cvt.sat.f32.f32 %r9, %r2;", kNan, 0), 0u);
  CHECK_EQ(of_floats("cvt.sat.f32.f32 %r9, %r2;", 7, 0), std::bit_cast<uint32_t>(1.0f));
  CHECK_EQ(of_floats("cvt.rzi.s32.f32 %r9, %r2;", -2.9f, 0), uint32_t(-2));
  CHECK_EQ(of_floats("cvt.rzi.s32.f32 %r9, %r2;", 1e20f, 0), 0x7FFFFFFFu);
  CHECK_EQ(of_floats("cvt.rzi.u32.f32 %r9, %r2;", -1, 0), 0u);
  CHECK_EQ(of_floats("cvt.rzi.s32.f32 %r9, %r2;", kNan, 0), 0u);
  // the first of the two is the high half
  CHECK_EQ(of_floats("cvt.rn.bf16x2.f32 %r9, %r2, %r3;", 1, -2), 0x3F80C000u);
  CHECK_EQ(of_pair("fma.rn.bf16x2 %r9, %r2, %r3, 0x80008000;", 0x3F804000u, 0xC0003F00u), 0xC0003F80u);
}

TEST("ptx: comparisons with NaN") {
  for (const float b : {1.0f, 2.0f, 3.0f, kInfinite, -kInfinite}) {
    CHECK_EQ(holds("setp.lt.f32", 2, b), 2 < b ? 1u : 0u);
    CHECK_EQ(holds("setp.ltu.f32", 2, b), 2 < b ? 1u : 0u);
    CHECK_EQ(holds("setp.geu.f32", 2, b), 2 >= b ? 1u : 0u);
    CHECK_EQ(holds("setp.leu.f32", 2, b), 2 <= b ? 1u : 0u);
    CHECK_EQ(holds("setp.neu.f32", 2, b), 2 != b ? 1u : 0u);
    CHECK_EQ(holds("setp.eq.f32", 2, b), 2 == b ? 1u : 0u);
  }
  for (const char* ordered : {"setp.lt.f32", "setp.le.f32", "setp.gt.f32", "setp.ge.f32", "setp.eq.f32", "setp.ne.f32"})
    CHECK_EQ(holds(ordered, 2, kNan), 0u);
  for (const char* unordered :
       {"setp.ltu.f32", "setp.leu.f32", "setp.gtu.f32", "setp.geu.f32", "setp.equ.f32", "setp.neu.f32"})
    CHECK_EQ(holds(unordered, kNan, 2), 1u);
}

TEST("ptx: branches, guards and labels; thread and block indices") {
  uint64_t out[40] = {};
  const std::string collatz =
      "mov.u32 %r3, 0;\nmov.u32 %r2, %r1;\n$again:\nsetp.le.s32 %p1, %r2, 1;\n@%p1 bra $done;\nand.b32 %r4, %r2, 1;\n"
      "setp.eq.s32 %p2, %r4, 0;\n@%p2 shr.u32 %r2, %r2, 1;\n@!%p2 mad.lo.s32 %r2, %r2, 3, 1;\nadd.s32 %r3, %r3, 1;\n"
      "bra.uni $again;\n$done:\nmul.wide.u32 %rd3, %r1, 8;\nadd.s64 %rd4, %rd1, %rd3;\ncvt.u64.u32 %rd5, %r3;\n"
      "st.global.u64 [%rd4], %rd5;";
  CHECK(!run(collatz, out, 0, 40));
  CHECK_EQ(out[1], 0u);
  CHECK_EQ(out[27], 111u);
  CHECK_EQ(out[39], 34u);
}

TEST("ptx: lanes together, and shared memory, static before dynamic") {
  uint64_t out[64] = {};
  const std::string before = ".extern .shared .align 128 .b8 dynamic[];\n.shared .align 4 .b8 fixed[256];";
  // each thread stores its number for its neighbour, in either memory, and adds the values of all lanes
  const std::string body =
      "shl.b32 %r2, %r1, 2;\nmov.u32 %r3, fixed;\nadd.s32 %r3, %r3, %r2;\nst.shared.u32 [%r3], %r1;\nmov.u32 %r4, "
      "dynamic;\n"
      "add.s32 %r4, %r4, %r2;\nst.shared.u32 [%r4], %r1;\nbar.sync 0;\nxor.b32 %r5, %r2, 4;\nmov.u32 %r3, fixed;\n"
      "add.s32 %r3, %r3, %r5;\nld.shared.u32 %r6, [%r3];\nmov.u32 %r4, dynamic;\nadd.s32 %r4, %r4, %r5;\nld.shared.u32 "
      "%r7, [%r4];\n"
      "shfl.sync.bfly.b32 %r8|%p1, %r1, 16, 31, -1;\nshfl.sync.up.b32 %r10|%p2, %r1, 1, 0, -1;\n"
      "setp.gt.u32 %p3, %r1, 40;\nvote.sync.ballot.b32 %r11, %p3, -1;\nadd.s32 %r12, %r6, %r7;\n@%p1 add.s32 %r12, "
      "%r12, %r8;\n"
      "@%p2 add.s32 %r12, %r12, %r10;\nmov.b64 %rd5, {%r12, %r11};\nmul.wide.u32 %rd3, %r1, 8;\nadd.s64 %rd4, %rd1, "
      "%rd3;\n"
      "st.global.u64 [%rd4], %rd5;";
  CHECK(!run(body, out, 0, 64, 256, before));
  for (unsigned t = 0; t < 64; ++t) {
    const unsigned expected = 2 * (t ^ 1) + (t ^ 16) + (t % 32 == 0 ? 0 : t - 1);
    CHECK_EQ(uint32_t(out[t]), expected);
    CHECK_EQ(uint32_t(out[t] >> 32), t < 32 ? 0u : 0xFFFFFE00u);
  }
}

TEST("ptx: faults are found, with their place") {
  uint64_t out[4] = {};
  const auto said = [&](const std::string& body, unsigned threads = 1, size_t dynamic = 0,
                        const std::string& before = "") {
    const std::optional<Fault> fault = run(body, out, 0, threads, dynamic, before);
    return fault ? fault->text : "";
  };
  const std::string dynamic = ".extern .shared .align 128 .b8 dynamic[];";
  CHECK_EQ(lacking(said("st.global.u64 [%rd1+32], 1;"), "outside of all memory"), "");
  CHECK_EQ(lacking(said("ld.global.u64 %rd3, [%rd1+-8];"), "outside of all memory"), "");
  CHECK_EQ(lacking(said("st.global.u64 [%rd1+4], 1;"), "misaligned address"), "");
  CHECK_EQ(said("mov.u32 %r2, dynamic;\nld.shared.u32 %r3, [%r2+60];", 1, 64, dynamic), "");
  CHECK_EQ(lacking(said("mov.u32 %r2, dynamic;\nld.shared.u32 %r3, [%r2+64];", 1, 64, dynamic),
                   "outside of the block's shared memory"),
           "");
  CHECK_EQ(lacking(said("mov.u32 %r2, dynamic;\nld.shared.v4.u32 {%r3, %r4, %r5, %r6}, [%r2+8];", 1, 64, dynamic),
                   "misaligned"),
           "");
  // half of a warp in one instruction, half in another
  CHECK_EQ(
      lacking(said("setp.lt.u32 %p1, %r1, 16;\n@%p1 bra $a;\nshfl.sync.idx.b32 %r2|%p2, %r1, 0, 31, -1;\nbra $b;\n$a:\n"
                   "shfl.sync.idx.b32 %r2|%p2, %r1, 1, 31, -1;\n$b:",
                   32),
              "different instructions"),
      "");
  CHECK_EQ(lacking(said("st.global.u64 [%rd1+4], 1;"), " at ptx-test-"), "");
  const auto refused = [](const std::string& text) -> std::string {
    try {
      read(text);
    } catch (const std::runtime_error& error) {
      return error.what();
    }
    return "read";
  };
  CHECK_EQ(
      lacking(refused(kernel_text("wgmma.fence.sync.aligned;")), ":13: wgmma.fence.sync.aligned is not known here"),
      "");
  CHECK_EQ(lacking(refused(kernel_text("bra $nowhere;")), "there is no $nowhere"), "");
  CHECK_EQ(lacking(refused(kernel_text("mov.u32 %r2, %smid.x;")), "what is %smid.x?"), "");
  CHECK_EQ(lacking(refused(kernel_text("mov.u32 %r2, nobody;")), "what is nobody?"), "");
  CHECK_EQ(lacking(refused(".version 9.0\n.target sm_90a\n.entry half("), "expected .param"), "");
  CHECK_EQ(lacking(refused(".global .u32 counter;"), "\".global\" is not known here"), "");
}

}  // namespace oss::test
