#pragma once

#include <cstddef>

namespace warren::engine {

// A link that an object holds to be a member of one list; leaves its list when it dies.
template <typename Owner>
class Hook {
 public:
  explicit Hook(Owner* owner = nullptr) : owner_(owner) {}
  Hook(const Hook&) = delete;
  Hook& operator=(const Hook&) = delete;
  ~Hook() { unlink(); }

  [[nodiscard]] bool linked() const { return next_ != nullptr; }
  [[nodiscard]] Owner* owner() const { return owner_; }
  void unlink() {
    if (next_ == nullptr) return;
    previous_->next_ = next_;
    next_->previous_ = previous_;
    next_ = previous_ = nullptr;
  }

 private:
  template <typename>
  friend class IntrusiveList;
  Hook* previous_ = nullptr;
  Hook* next_ = nullptr;
  Owner* owner_;
};

// A list that owns nothing: constant-time insertion and removal without allocation.
template <typename Owner>
class IntrusiveList {
 public:
  IntrusiveList() { head_.next_ = head_.previous_ = &head_; }
  IntrusiveList(const IntrusiveList&) = delete;
  IntrusiveList& operator=(const IntrusiveList&) = delete;
  ~IntrusiveList() {
    while (!empty()) head_.next_->unlink();
    head_.next_ = head_.previous_ = nullptr;
  }

  [[nodiscard]] bool empty() const { return head_.next_ == &head_; }
  [[nodiscard]] Owner* front() const { return empty() ? nullptr : head_.next_->owner_; }
  void pushBack(Hook<Owner>& hook) {
    hook.unlink();
    hook.previous_ = head_.previous_;
    hook.next_ = &head_;
    head_.previous_->next_ = &hook;
    head_.previous_ = &hook;
  }
  Owner* popFront() {
    if (empty()) return nullptr;
    Hook<Owner>* first = head_.next_;
    first->unlink();
    return first->owner_;
  }
  // `each` may unlink the member it is given, and no other.
  template <typename Each>
  void forEach(Each each) const {
    for (Hook<Owner>* hook = head_.next_; hook != &head_;) {
      Hook<Owner>* next = hook->next_;
      each(*hook->owner_);
      hook = next;
    }
  }
  // Moves all members to the end of `other`.
  void spliceInto(IntrusiveList& other) {
    if (empty()) return;
    head_.next_->previous_ = other.head_.previous_;
    other.head_.previous_->next_ = head_.next_;
    head_.previous_->next_ = &other.head_;
    other.head_.previous_ = head_.previous_;
    head_.next_ = head_.previous_ = &head_;
  }

 private:
  Hook<Owner> head_;
};

}  // namespace warren::engine
