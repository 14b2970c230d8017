#include "native/backend/metal/encoder.h"

#include <algorithm>
#include <exception>
#include <span>
#include <utility>

namespace oss::metal {

bool Encoder::overlaps(const std::vector<Range>& ranges, const Range& with) {
  return std::ranges::any_of(ranges, [&](const Range& one) { return one.begin < with.end && with.begin < one.end; });
}

void Encoder::dispatch(const char* kernel, Groups groups, uint32_t threads, std::initializer_list<Argument> arguments) {
  if (groups.x == 0 || groups.y == 0 || groups.z == 0) return;  // no work
  if (open_ == nullptr) {
    open_ = device_->commands();
    read_.clear();
    written_.clear();
  }
  const auto range_of = [](const Argument& argument) {
    const char* at = static_cast<const char*>(argument.at);
    return Range{at, at + argument.bytes};
  };
  bool conflict = false;
  for (const Argument& argument : arguments) {
    if (argument.kind == Argument::Kind::kBytes) continue;
    const Range range = range_of(argument);
    conflict =
        conflict || overlaps(written_, range) || (argument.kind != Argument::Kind::kRead && overlaps(read_, range));
  }
  if (conflict) {
    open_->barrier();
    ++barriers_;
    read_.clear();
    written_.clear();
  }
  for (const Argument& argument : arguments) {
    if (argument.kind == Argument::Kind::kBytes) continue;
    if (argument.kind != Argument::Kind::kWrite) read_.push_back(range_of(argument));
    if (argument.kind != Argument::Kind::kRead) written_.push_back(range_of(argument));
  }
  open_->dispatch({kernel, groups, threads, std::span(arguments.begin(), arguments.size())});
  ++dispatches_;
}

uint64_t Encoder::commit() {
  if (open_ == nullptr) return commits_;
  committed_.push_back(std::exchange(open_, nullptr));
  committed_.back()->commit();
  return ++commits_;
}

void Encoder::wait(uint64_t number) {
  while (!committed_.empty() && commits_ - committed_.size() < number) {
    const std::shared_ptr<Commands> oldest = std::move(committed_.front());
    committed_.pop_front();  // first, because an error must not be met again
    oldest->wait();
    seconds_ += oldest->seconds();
  }
}

void Encoder::finish() noexcept {
  open_.reset();
  while (!committed_.empty()) {
    try {
      wait(commits_);
    } catch (const std::exception&) {  // nobody reads the results
    }
  }
}

}  // namespace oss::metal
