#include "test/emu/ptx/program.h"

#include <cctype>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <limits>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string_view>

#include "native/base/str.h"
#include "test/emu/ptx/instructions.h"

namespace oss::emu::ptx {
namespace {

struct Token {
  std::string_view text;
  uint32_t line;
};

bool in_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || std::strchr("_$%.", c) != nullptr; }

// Words (including the :: of state spaces), quoted strings, and single characters.
std::vector<Token> tokens_of(std::string_view text) {
  std::vector<Token> tokens;
  uint32_t line = 1;
  for (size_t i = 0; i < text.size();) {
    const size_t begin = i;
    if (text[i] == '\n') {
      ++line;
      ++i;
    } else if (std::isspace(static_cast<unsigned char>(text[i])) != 0) {
      ++i;
    } else if (text.substr(i, 2) == "//") {
      i = std::min(text.find('\n', i), text.size());
    } else if (text[i] == '"') {
      i = text.find('"', i + 1) + 1;
      tokens.push_back({text.substr(begin, i - begin), line});
    } else if (in_word(text[i])) {
      while (i < text.size() && (in_word(text[i]) || text.substr(i, 2) == "::")) i += text[i] == ':' ? 2 : 1;
      tokens.push_back({text.substr(begin, i - begin), line});
    } else {
      tokens.push_back({text.substr(i++, 1), line});
    }
  }
  return tokens;
}

// nvcc and g++ mangle an anonymous namespace differently: "47_GLOBAL__N__08dba387_14_few_experts_cu_c0efd27e" and
// "12_GLOBAL__N_1".
std::string as_gpp_mangles(std::string_view name) {
  constexpr std::string_view kMark = "_GLOBAL__N__";
  std::string result(name);
  for (size_t at = 0; (at = result.find(kMark, at)) != std::string::npos;) {
    size_t digits = at;
    while (digits > 0 && std::isdigit(static_cast<unsigned char>(result[digits - 1])) != 0) --digits;
    const size_t length = std::stoul(result.substr(digits, at - digits));
    constexpr std::string_view kOurs = "12_GLOBAL__N_1";
    result.replace(digits, at - digits + length, kOurs);
    at = digits + kOurs.size();
  }
  return result;
}

struct SharedVariable {
  uint32_t bytes, alignment;
  int64_t address = -1;
};
using SharedVariables = std::map<std::string_view, SharedVariable>;

class Reader {
 public:
  Reader(std::string path, std::string_view text) : path_(std::move(path)), tokens_(tokens_of(text)) {}

  Program read() {
    Program program;
    while (at_ < tokens_.size()) {
      const std::string_view word = take();
      if (word == ".version" || word == ".address_size") {
        take();
      } else if (word == ".target") {
        program.architecture = int(number(take().substr(3)));  // sm_90a
      } else if (word == ".visible" || word == ".weak" || word == ".extern") {
      } else if (word == ".shared") {
        shared_variable(module_shared_);
      } else if (word == ".entry") {
        program.kernels.push_back(entry());
      } else {
        fail(str("\"", word, "\" is not known here"));
      }
    }
    return program;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw std::runtime_error(str(path_, ":", tokens_[at_ > 0 ? at_ - 1 : 0].line, ": ", what));
  }
  std::string_view peek() const { return at_ < tokens_.size() ? tokens_[at_].text : std::string_view(); }
  std::string_view take() {
    if (at_ == tokens_.size()) fail("it ends too early");
    return tokens_[at_++].text;
  }
  bool take_if(std::string_view text) {
    if (peek() != text) return false;
    ++at_;
    return true;
  }
  void expect(std::string_view text) {
    if (!take_if(text)) fail(str("expected ", text, " but found ", peek()));
  }
  uint32_t take_number() { return uint32_t(number(take())); }

  uint32_t bytes_of_type(std::string_view type) const {
    return uint32_t(number(type.substr(std::min<size_t>(type.size(), 2)))) / 8;
  }

  // [.align N] .TYPE [.ptr .align N] NAME [ [COUNT] ]
  struct Declared {
    std::string_view name;
    uint32_t bytes, alignment;
  };
  Declared declaration() {
    uint32_t alignment = take_if(".align") ? take_number() : 0;
    const uint32_t of_one = bytes_of_type(take());
    if (take_if(".ptr")) {  // alignment of the target
      expect(".align");
      take();
    }
    Declared declared{take(), of_one, alignment == 0 ? of_one : alignment};
    if (take_if("[")) {
      const bool sized = peek() != "]";
      declared.bytes = sized ? of_one * take_number() : 0;
      expect("]");
    }
    return declared;
  }
  void shared_variable(SharedVariables& among) {
    const Declared declared = declaration();
    among[declared.name] = {declared.bytes, declared.alignment};
    expect(";");
  }

  Kernel entry() {
    Kernel kernel;
    kernel_ = &kernel;
    kernel.file = path_.substr(path_.find_last_of('/') + 1);
    kernel.mangled = as_gpp_mangles(take());
    parameters_.clear();
    shared_ = module_shared_;
    scopes_ = {{}};
    constants_.clear();
    labels_.clear();
    branches_.clear();
    expect("(");
    while (!take_if(")")) {
      expect(".param");
      const Declared declared = declaration();
      const uint32_t offset =
          (kernel.parameter_bytes + declared.alignment - 1) / declared.alignment * declared.alignment;
      parameters_[declared.name] = offset;
      kernel.parameters.push_back({offset, declared.bytes});
      kernel.parameter_bytes = offset + declared.bytes;
      take_if(",");
    }
    while (!take_if("{")) {
      const std::string_view directive = take();
      if (directive == ".maxntid" || directive == ".reqntid") {
        kernel.most_threads = 1;
        do {
          kernel.most_threads *= take_number();
        } while (take_if(","));
      } else if (directive == ".minnctapersm" || directive == ".maxnreg") {
        take();
      } else {
        fail(str("\"", directive, "\" is not known here"));
      }
    }
    scopes_.front()["_"] = new_register();  // for results that are not used
    while (!scopes_.empty()) statement();
    for (const auto& [instruction, label] : branches_) {
      const auto found = labels_.find(label);
      if (found == labels_.end()) fail(str("there is no ", label));
      kernel.code[instruction].target = found->second;
    }
    return kernel;
  }

  void statement() {
    if (take_if("{")) return scopes_.push_back({});
    if (take_if("}")) return scopes_.pop_back();
    if (take_if(";")) return;
    if (take_if(".reg")) return registers();
    if (take_if(".shared")) return shared_variable(shared_);
    if (take_if(".pragma")) {
      take();
      return expect(";");
    }
    if (at_ + 1 < tokens_.size() && tokens_[at_ + 1].text == ":") {
      labels_[take()] = uint32_t(kernel_->code.size());
      return expect(":");
    }
    instruction();
  }

  // .reg .b32 %r<123>;   .reg .b16 low, high;
  void registers() {
    take();
    do {
      const std::string_view name = take();
      if (take_if("<")) {
        take();
        expect(">");
      } else {
        scopes_.back()[name] = new_register();
      }
    } while (take_if(","));
    expect(";");
  }

  Register new_register() {
    if (kernel_->num_registers > std::numeric_limits<Register>::max()) fail("too many registers");
    return Register(kernel_->num_registers++);
  }
  Register register_named(std::string_view name) {
    static const std::map<std::string_view, Register> specials = {
        {"%tid.x", kThreadX},   {"%tid.y", kThreadY},    {"%tid.z", kThreadZ},    {"%ntid.x", kThreadsX},
        {"%ntid.y", kThreadsY}, {"%ntid.z", kThreadsZ},  {"%ctaid.x", kBlockX},   {"%ctaid.y", kBlockY},
        {"%ctaid.z", kBlockZ},  {"%nctaid.x", kBlocksX}, {"%nctaid.y", kBlocksY}, {"%nctaid.z", kBlocksZ}};
    if (const auto special = specials.find(name); special != specials.end()) return special->second;
    for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
      if (const auto found = scope->find(name); found != scope->end()) return found->second;
    }
    if (name[0] != '%' || name.find('.') != std::string_view::npos) fail(str("what is ", name, "?"));
    return scopes_.front()[name] = new_register();
  }

  Register constant(uint64_t value) {
    if (const auto found = constants_.find(value); found != constants_.end()) return found->second;
    const Register holds = constants_[value] = new_register();
    kernel_->constants.emplace_back(holds, value);
    return holds;
  }

  // The address of a variable in shared memory. Variables get their places in the order of their first use in a kernel.
  Register shared_address(SharedVariable& variable) {
    if (variable.bytes == 0) return kDynamicShared;
    if (variable.address < 0) {
      uint32_t& bytes = kernel_->static_shared_bytes;
      bytes = (bytes + variable.alignment - 1) / variable.alignment * variable.alignment;
      variable.address = kSharedWindow + bytes;
      bytes += variable.bytes;
    }
    return constant(uint64_t(variable.address));
  }

  static bool is_number(std::string_view word) { return std::isdigit(static_cast<unsigned char>(word[0])) != 0; }
  // Returns the bits of a floating-point constant: 0f3F800000, 0d3FF0000000000000.
  uint64_t number(std::string_view word) const {
    const bool bits = word.starts_with("0f") || word.starts_with("0d");
    const std::string digits(bits ? word.substr(2) : word);
    char* end = nullptr;
    const uint64_t value = std::strtoull(digits.c_str(), &end, bits ? 16 : 0);
    if (end == digits.c_str()) fail(str("expected a number but found ", word));
    return value;
  }

  // The register that holds the value of an operand.
  Register value() {
    const bool negative = take_if("-");
    const std::string_view word = take();
    if (is_number(word)) return constant(negative ? 0 - number(word) : number(word));
    if (negative) fail("a sign before what is no number");
    if (const auto parameter = parameters_.find(word); parameter != parameters_.end())
      return constant(parameter->second);
    if (const auto variable = shared_.find(word); variable != shared_.end()) return shared_address(variable->second);
    return register_named(word);
  }

  void instruction() {
    Instruction made;
    made.line = tokens_[at_].line;
    made.guard = kAlways;
    if (take_if("@")) {
      made.unless = take_if("!");
      made.guard = register_named(take());
    }
    std::string name(take());
    const auto add = [&](Register which) {
      if (made.num_operands == kMostOperands) fail("too many operands");
      made.operands[made.num_operands++] = which;
    };
    for (int operand = 0; !take_if(";"); ++operand) {
      if (operand > 0) expect(",");
      if (take_if("{")) {
        if (name == "mov.b32" || name == "mov.b64") name += operand == 0 ? ".unpack" : ".pack";
        do add(value());
        while (take_if(","));
        expect("}");
      } else if (take_if("[")) {
        add(value());
        if (take_if("+")) {
          const bool negative = take_if("-");
          const auto offset = int32_t(number(take()));
          if (made.offset != 0) fail("two offsets in one instruction");
          made.offset = negative ? -offset : offset;
        }
        expect("]");
      } else if (name.starts_with("bra")) {
        branches_.emplace_back(kernel_->code.size(), take());
      } else {
        add(value());
        if (take_if("|")) add(value());
      }
    }
    made.execute = find_instruction(name);
    if (made.execute == nullptr) fail(str(name, " is not known here"));
    kernel_->code.push_back(made);
  }

  std::string path_;
  std::vector<Token> tokens_;
  size_t at_ = 0;
  SharedVariables module_shared_, shared_;
  Kernel* kernel_ = nullptr;
  std::map<std::string_view, uint64_t> parameters_;
  std::vector<std::map<std::string_view, Register>> scopes_;  // names of registers
  std::map<uint64_t, Register> constants_;
  std::map<std::string_view, uint32_t> labels_;
  std::vector<std::pair<size_t, std::string_view>> branches_;
};

}  // namespace

Program read_program(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  if (!(text << file.rdbuf())) throw std::runtime_error(str(path, " cannot be read"));
  const std::string all = text.str();
  return Reader(path, all).read();
}

}  // namespace oss::emu::ptx
