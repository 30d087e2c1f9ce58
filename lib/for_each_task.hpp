#pragma once

#include <leat/detail/context_node.hpp>

namespace leat::detail {

template <class See>
void cancel_node::for_each_task(See see)
{
    // Lets go of the node also if `see` throws.
    struct let_go {
        void operator()(cancel_node* node) const noexcept
        {
            node->unref();
        }
    };
    for (std::size_t i = 0; i < node_registry::shards; ++i) {
        node_registry::shard& s = node_registry::at(i);
        // Nodes are kept by a reference while they are looked at; the registry's lock is not held then.
        owned<cancel_node, let_go> held;
        for (;;) {
            cancel_node* node = nullptr;
            {
                const spin_guard hold{s.lock};
                node = !held ? node_registry::first(s) : node_registry::next(s, *held);
                while (node != nullptr && !node->try_ref())
                    node = node_registry::next(s, *node);
            }
            held.reset(node);
            if (node == nullptr)
                break;
            const spin_guard hold{node->lock};
            for (linked_list<task_root>* list : {&node->tasks_, &node->stopped_})
                for (task_root* root = list->front(); root != nullptr; root = list->after(*root))
                    see(*root);
        }
    }
}

}  // namespace leat::detail
