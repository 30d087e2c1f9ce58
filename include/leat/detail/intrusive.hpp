#pragma once

namespace leat::detail {

/// A link of a doubly linked list whose members unlink themselves in O(1). The owner of the list locks.
template <class Tag>
struct list_link {
    list_link* prev = nullptr;
    list_link* next = nullptr;
    bool linked() const noexcept
    {
        return next != nullptr;
    }
};

/// Circular, with a head that is a link itself; T derives from list_link<Tag>.
template <class T, class Tag = T>
class linked_list {
    using link = list_link<Tag>;

public:
    // The head is tied to itself when it is first used: g++ 12 gets constants wrong that point to themselves.
    constexpr linked_list() noexcept = default;
    linked_list(const linked_list&) = delete;
    linked_list& operator=(const linked_list&) = delete;

    bool empty() const noexcept
    {
        return head_.next == nullptr || head_.next == &head_;
    }
    T* front() const noexcept
    {
        return empty() ? nullptr : static_cast<T*>(head_.next);
    }
    /// The member after `node`, or null.
    T* after(T& node) const noexcept
    {
        link* const next = static_cast<link&>(node).next;
        return next == &head_ ? nullptr : static_cast<T*>(next);
    }
    void push_back(T& node) noexcept
    {
        link& l = node;
        if (head_.next == nullptr)
            head_.prev = head_.next = &head_;
        l.prev = head_.prev;
        l.next = &head_;
        head_.prev->next = &l;
        head_.prev = &l;
    }
    void push_front(T& node) noexcept
    {
        if (T* const first = front()) {
            link& l = node;
            l.prev = &head_;
            l.next = first;
            static_cast<link&>(*first).prev = &l;
            head_.next = &l;
        } else {
            push_back(node);
        }
    }
    static void remove(T& node) noexcept
    {
        link& l = node;
        l.prev->next = l.next;
        l.next->prev = l.prev;
        l.prev = l.next = nullptr;
    }
    T* pop_front() noexcept
    {
        T* const node = front();
        if (node != nullptr)
            remove(*node);
        return node;
    }

private:
    link head_;
};

}  // namespace leat::detail
